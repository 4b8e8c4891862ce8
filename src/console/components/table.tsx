/** A table for lists of moderate length, with a caption for screen readers; it scrolls sideways when it is narrow. */
import type { ReactNode } from 'react';

/** The table: its column headings, and the cells of each row by key. The first cell heads its row. */
export function Table({
  label,
  columns,
  rows,
}: {
  label: string;
  columns: readonly string[];
  rows: readonly { key: string; cells: readonly ReactNode[] }[];
}) {
  return (
    <section className="scroll table" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {columns.map((text, index) => (
              <th key={index} scope="col">
                {text}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ key, cells: [first, ...rest] }) => (
            <tr key={key}>
              <th scope="row">{first}</th>
              {rest.map((cell, index) => (
                <td key={index}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
