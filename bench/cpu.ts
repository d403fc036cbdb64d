/** CPU time and memory of processes, as Linux tells them in /proc (proc_pid_stat(5), proc_pid_status(5)). */
import { readFileSync } from 'node:fs'

/** USER_HZ, the same on every Linux that Node runs on. So 10 ms is the least that shows: let samples be long. */
const TICKS_PER_SECOND = 100

/** CPU seconds that the processes have used so far, user and system, all threads. */
export function cpuSeconds(pids: readonly number[]): number {
  return sum(pids.map(cpuTicks)) / TICKS_PER_SECOND
}

/** Resident memory in MiB: now (`VmRSS`), or the most it ever was (`VmHWM`). */
export function memoryMiB(pids: readonly number[], field: 'VmRSS' | 'VmHWM'): number {
  return sum(pids.map((pid) => kilobytes(pid, field))) / 1024
}

function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The command's name, the second field, may hold anything; it ends at the last bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [userTicks, systemTicks] = [fields[11], fields[12]]
  return Number(userTicks) + Number(systemTicks)
}

function kilobytes(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1])
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
