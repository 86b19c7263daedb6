/** Exit codes of nexusctl and nexusd. */
export const ExitCode = {
  ok: 0,
  failure: 1,
  usage: 2,
  unreachable: 3,
  notFound: 4,
  conflict: 5,
  waitTimeout: 6,
  /** 128 + SIGINT, as shells report it. */
  interrupted: 130
} as const
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]
