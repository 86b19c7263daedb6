/**
 * How much is measured. `warm` counts requests before that: V8 compiles hot code within some 10,000 requests.
 *
 * @typedef {typeof full} Scale
 */

const full = {
  cli: { rounds: 40 },
  start: { rounds: 25 },
  memory: { rounds: 3, settle: 1_000, gets: 100_000, createRounds: 2, creates: 100_000 },
  creates: { rounds: 7, each: 5_000, warm: 20_000, profiled: 40_000 },
  gets: { rounds: 9, millis: 2_000, warm: 40_000, profiled: 40_000 },
  smallLists: { rounds: 9, millis: 500, warm: 10_000, profiled: 10_000 },
  pages: { rounds: 7, millis: 300, warm: 1_000 },
  list: {
    sizes: [
      { records: 10_000, rounds: 25, warm: 10, count: 3 },
      { records: 100_000, rounds: 5, warm: 2, count: 1 }
    ]
  },
  longList: { rounds: 5, lists: 3 },
  scrape: { rounds: 15 },
  webPage: { rounds: 7, frames: 120 },
  events: { subscribers: 1_000, seconds: 6 },
  growth: { rounds: 7, warm: 4_000, burst: 640, sizes: [100, 1_000, 10_000, 100_000], charted: true },
  vms: {
    rounds: 40,
    warm: 30,
    together: 200,
    running: 1_000,
    idleMillis: 10_000,
    idleRounds: 6,
    callRounds: 5,
    creates: 3_000,
    gets: 20_000,
    beside: 200
  },
  postgres: { rounds: 5, each: 1_500, millis: 700, warm: 5_000, profiled: 10_000 },
  postgresGrowth: { rounds: 5, creates: 100, gets: 500, warm: 1_500, sizes: [1_000, 10_000, 100_000, 1_000_000] }
}

/** @type {Scale} */
const quick = {
  cli: { rounds: 5 },
  start: { rounds: 5 },
  memory: { rounds: 1, settle: 500, gets: 8_000, createRounds: 1, creates: 8_000 },
  creates: { rounds: 3, each: 700, warm: 2_000, profiled: 0 },
  gets: { rounds: 3, millis: 400, warm: 6_000, profiled: 0 },
  smallLists: { rounds: 3, millis: 300, warm: 2_000, profiled: 0 },
  pages: { rounds: 3, millis: 200, warm: 300 },
  list: { sizes: [{ records: 10_000, rounds: 4, warm: 2, count: 3 }] },
  longList: { rounds: 1, lists: 1 },
  scrape: { rounds: 3 },
  webPage: { rounds: 2, frames: 60 },
  events: { subscribers: 1_000, seconds: 2 },
  growth: { rounds: 3, warm: 1_000, burst: 320, sizes: [100, 100_000], charted: false },
  vms: {
    rounds: 10,
    warm: 10,
    together: 50,
    running: 100,
    idleMillis: 5_000,
    idleRounds: 1,
    callRounds: 3,
    creates: 500,
    gets: 4_000,
    beside: 50
  },
  postgres: { rounds: 1, each: 500, millis: 300, warm: 500, profiled: 0 },
  postgresGrowth: { rounds: 1, creates: 50, gets: 200, warm: 200, sizes: [1_000, 100_000] }
}

/** @param {boolean} isQuick */
export const scaleOf = (isQuick) => (isQuick ? quick : full)
