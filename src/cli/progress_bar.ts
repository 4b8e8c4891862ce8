/** Shows long steps: a bar on a terminal, else one line per finished step. */

const WIDTH = 24;
/** Milliseconds between two drawings. */
const DRAW_MS = 100;

/** Prints the progress of steps that follow each other. */
export class ProgressBars {
  #label: string | undefined;
  #total: number | undefined;
  #rows = 0;
  #startedAt = 0;
  #drawnAt = 0;

  /** Begins a step and ends the one before. Call the result with the number of rows done so far. */
  step(label: string, total?: number): (rows: number) => void {
    this.end();
    [this.#label, this.#total, this.#rows, this.#startedAt, this.#drawnAt] = [label, total, 0, performance.now(), 0];
    this.#draw();
    return (rows) => {
      this.#rows = Math.max(rows, 0);
      this.#draw();
    };
  }

  /** Prints a line between two steps. */
  done(line: string): void {
    this.end();
    console.log(`  ${line}`);
  }

  end(): void {
    if (this.#label === undefined) return;
    const seconds = ((performance.now() - this.#startedAt) / 1_000).toFixed(1);
    const rows = this.#total === undefined ? '' : `${this.#rows.toLocaleString('en')} rows, `;
    this.#clear();
    console.log(`  ${this.#label}: ${rows}${seconds} s`);
    this.#label = undefined;
  }

  #draw(): void {
    if (!process.stdout.isTTY || performance.now() - this.#drawnAt < DRAW_MS) return;
    this.#drawnAt = performance.now();
    this.#clear();
    process.stdout.write(`  ${this.#label} ${this.#bar()}`);
  }

  #bar(): string {
    if (!this.#total) return '…';
    const part = Math.min(this.#rows / this.#total, 1);
    const full = Math.round(part * WIDTH);
    return `${'█'.repeat(full)}${'░'.repeat(WIDTH - full)} ${Math.floor(part * 100)} %`;
  }

  #clear(): void {
    if (process.stdout.isTTY) process.stdout.write('\r\x1b[2K');
  }
}
