/** Prints a line per figure, and a comparison of all engines. */

/** Figures by what was measured. */
export type Figures = Record<string, number>;

const OURS = 'Flowgres';

const show = (value: number | undefined): string => {
  if (value === undefined) return '';
  if (!Number.isFinite(value)) return 'not in 60 s';
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toFixed(2);
};

/** Prints one figure. */
export function print(engine: string, what: string, value: number, unit: string): void {
  console.log(`${engine}: ${what}: ${show(value)}${unit && Number.isFinite(value) ? ` ${unit}` : ''}`);
}

/** Prints the figures of all engines; those of the others with the ratio to Flowgres in brackets. */
export function printComparison(all: Map<string, Figures>): void {
  const ours = all.get(OURS) ?? {};
  const others = [...all.keys()].filter((name) => name !== OURS);
  console.log(`\n| figure | ${OURS} | ${others.map((name) => `${name} (ours / theirs)`).join(' | ')} |`);
  console.log(`|---|---|${others.map(() => '---|').join('')}`);
  for (const what of new Set([...all.values()].flatMap((figures) => Object.keys(figures)))) {
    const cells = others.map((name) => {
      const theirs = all.get(name)?.[what];
      const mine = ours[what];
      const ratio = theirs && mine && Number.isFinite(theirs) ? ` (${show(mine / theirs)})` : '';
      return show(theirs) + ratio;
    });
    console.log(`| ${what} | ${show(ours[what])} | ${cells.join(' | ')} |`);
  }
}
