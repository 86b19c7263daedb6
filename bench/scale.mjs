/**
 * How much is measured. `warm` is what comes before: V8 takes some 10,000 requests to compile what is used much, and a
 * daemon that runs for weeks is past that.
 *
 * @typedef {typeof full} Scale
 */

const full = {
  cli: { rounds: 40 },
  start: { rounds: 25 },
  memory: { rounds: 3, settle: 1_000, gets: 100_000 },
  creates: { rounds: 7, each: 5_000, warm: 20_000 },
  gets: { rounds: 9, millis: 2_000, warm: 40_000, profiled: 40_000 },
  list: { rounds: 25, warm: 10 },
  longList: { rounds: 5, lists: 3 },
  growth: { rounds: 7, warm: 4_000, burst: 640, sizes: [100, 1_000, 10_000, 100_000], charted: true },
  postgres: { rounds: 5, each: 1_500, millis: 700, warm: 5_000, profiled: 10_000 },
  postgresGrowth: { rounds: 5, creates: 100, gets: 500, warm: 1_500, sizes: [1_000, 10_000, 100_000, 1_000_000] }
}

/** @type {Scale} */
const quick = {
  cli: { rounds: 5 },
  start: { rounds: 5 },
  memory: { rounds: 1, settle: 500, gets: 8_000 },
  creates: { rounds: 3, each: 700, warm: 2_000 },
  gets: { rounds: 3, millis: 400, warm: 6_000, profiled: 0 },
  list: { rounds: 4, warm: 2 },
  longList: { rounds: 1, lists: 1 },
  growth: { rounds: 3, warm: 1_000, burst: 320, sizes: [100, 100_000], charted: false },
  postgres: { rounds: 1, each: 500, millis: 300, warm: 500, profiled: 0 },
  postgresGrowth: { rounds: 1, creates: 50, gets: 200, warm: 200, sizes: [1_000, 100_000] }
}

/** @param {boolean} isQuick */
export const scaleOf = (isQuick) => (isQuick ? quick : full)
