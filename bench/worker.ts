/**
 * The other end of `Helper` in processes.ts: a forked process that is asked one thing after the other. It ends with
 * the process that started it; what it throws ends it, with the reason on stderr.
 */
export function answerWorker<Order, Answer>(answer: (order: Order) => Promise<Answer>): void {
  process.on('message', (order) => {
    void answer(order as Order).then((result) => process.send?.(result ?? null))
  })
  process.on('disconnect', () => process.exit())
  process.on('SIGINT', () => undefined) // Ctrl-C is for the bench, which ends us
  process.send?.('ready')
}
