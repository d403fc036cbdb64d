/** A tunnel that is up, in words: what one process tells another of it. */
export interface Place {
  name: string
  url: string
  /** the line before the URL, where there are lines */
  title: string
  target: string
}
