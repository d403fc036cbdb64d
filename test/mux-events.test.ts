import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TypedEventEmitter as Original } from 'main-event'
import { TypedEventEmitter as StandIn } from '../lib/mux/events.ts'

type Emitter = StandIn

/** The same story for what the library was written for and for what it gets in the bundle: both must tell it alike. */
const stories: Record<string, (emitter: Emitter, said: unknown[]) => void> = {
  'listeners are called in their order, each once, with the event': (emitter, said) => {
    const first = ({ type }: Event) => said.push(`first ${type}`)
    emitter.addEventListener('end', first)
    emitter.addEventListener('end', () => said.push('second'))
    emitter.addEventListener('end', first)
    emitter.addEventListener('end', { handleEvent: () => said.push('third') })
    emitter.addEventListener('close', () => said.push('close'))
    said.push(emitter.listenerCount('end'), emitter.safeDispatchEvent('end'), emitter.listenerCount('idle'))
  },
  'a detail reaches the listener': (emitter, said) => {
    emitter.addEventListener('stream', (event) => said.push((event as CustomEvent<number>).detail))
    emitter.safeDispatchEvent('stream', { detail: 7 })
  },
  'an event of its own kind is handed on as it is': (emitter, said) => {
    const event = Object.assign(new Event('close'), { error: 'cut' })
    emitter.addEventListener('close', (heard) => said.push(heard === event))
    said.push(emitter.dispatchEvent(event))
  },
  'once is once': (emitter, said) => {
    emitter.addEventListener('close', () => said.push('once'), { once: true })
    emitter.safeDispatchEvent('close')
    emitter.safeDispatchEvent('close')
    said.push(emitter.listenerCount('close'))
  },
  'who was removed is not called': (emitter, said) => {
    const leaver = () => said.push('leaver')
    emitter.addEventListener('drain', () => {
      emitter.removeEventListener('idle', leaver)
      said.push('drain')
    })
    emitter.addEventListener('idle', leaver)
    emitter.safeDispatchEvent('drain')
    emitter.safeDispatchEvent('idle')
    emitter.removeEventListener('never', leaver)
  },
  'nobody listens': (emitter, said) => said.push(emitter.safeDispatchEvent('message', { detail: 1 })),
}

for (const [name, tell] of Object.entries(stories)) {
  test(`events of a stream: ${name}`, () => {
    const told = [new Original() as unknown as Emitter, new StandIn()].map((emitter) => {
      const said: unknown[] = []
      tell(emitter, said)
      return said
    })
    assert.ok(told[0] !== undefined && told[0].length > 0)
    assert.deepEqual(told[1], told[0])
  })
}

for (const Emitter of [Original as unknown as typeof StandIn, StandIn]) {
  test(`events of a stream: what a listener throws is told later, and the others are called (${Emitter === StandIn ? 'ours' : 'its own'})`, async (t) => {
    const emitter = new Emitter()
    const said: string[] = []
    const fault = new Error('a listener of the test')
    emitter.addEventListener('close', () => {
      throw fault
    })
    emitter.addEventListener('close', () => said.push('called'))
    const heard = new Promise((resolve) => process.setUncaughtExceptionCaptureCallback(resolve))
    t.after(() => process.setUncaughtExceptionCaptureCallback(null))
    assert.equal(emitter.safeDispatchEvent('close'), true)
    assert.deepEqual(said, ['called'])
    assert.equal(await heard, fault)
  })
}
