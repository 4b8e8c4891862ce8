/**
 * How often a test repeats what is different each time, or how finely it divides what it interrupts. `npm test` takes
 * the first number; FLOWGRES_TEST_THOROUGH=1, as in `.ci/run`, the second.
 */
export function rounds(quick: number, thorough: number): number {
  return process.env['FLOWGRES_TEST_THOROUGH'] ? thorough : quick;
}
