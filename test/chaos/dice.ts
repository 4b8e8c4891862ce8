/** Chance from one seed: a run of the suite with the same seed strikes at the same times, as far as the machine allows. */
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

export class Dice {
  readonly #generator;

  /** `name` gives each user of the seed a sequence of its own, whatever the others draw. */
  constructor(seed: number, name: string) {
    const salt = [...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) | 0, 7);
    this.#generator = xoroshiro128plus(seed ^ salt);
    // Its first numbers hardly depend on the seed.
    for (let drawn = 0; drawn < 20; drawn += 1) this.#generator.next();
  }

  /** A whole number, both ends included. */
  whole(from: number, to: number): number {
    return uniformInt(this.#generator, from, to);
  }

  between(from: number, to: number): number {
    return from + uniformFloat64(this.#generator) * (to - from);
  }

  chance(probability: number): boolean {
    return uniformFloat64(this.#generator) < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.whole(0, items.length - 1)]!;
  }
}
