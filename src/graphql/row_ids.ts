/**
 * Gives every type that stands for a row a field `id`, by which normalizing caches identify it. Rows with a key of
 * several columns have no column of that name: theirs is the values of the key.
 */
import type { PgCodec, PgResource, PgSelectSingleStep } from 'postgraphile/@dataplan/pg';
import { lambda } from 'postgraphile/grafast';
import { GraphQLID, GraphQLNonNull } from 'postgraphile/graphql';

/** Keys of rows that no table has, by the name of the view. */
const VIEW_KEYS: Readonly<Record<string, readonly string[]>> = { workflow_run_steps: ['run_id', 'node'] };

/** Separates the values of a key; only the last one can contain it. */
const SEPARATOR = ':';

/** Returns the columns that identify a row; undefined for types that stand for no row. */
function keyOf(codec: PgCodec, resources: readonly PgResource[]): readonly string[] | undefined {
  const table = resources.find((each) => each.codec === codec && !each.parameters && !each.isVirtual);
  const known = VIEW_KEYS[codec.name] ?? VIEW_KEYS[table?.name ?? ''];
  if (known) return known;
  return table?.uniques.find(({ isPrimary }) => isPrimary)?.attributes;
}

/** Adds `id` to types without it. */
export const RowIdsPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresRowIdsPlugin',
  version: '1.0.0',
  schema: {
    hooks: {
      GraphQLObjectType_fields(fields, build, { scope, fieldWithHooks }) {
        const codec = scope.pgCodec as PgCodec | undefined;
        if (!scope.isPgClassType || !codec?.attributes || 'id' in codec.attributes) return fields;
        const key = keyOf(codec, Object.values(build.input.pgRegistry.pgResources) as unknown as PgResource[]);
        if (!key) return fields;
        const id = fieldWithHooks({ fieldName: 'id' }, () => ({
          description:
            build.wrapDescription(
              `Identifies the row for caches: ${key.map((column) => build.inflection.camelCase(column)).join(', ')}, joined by colons.`,
              'field',
            ) ?? null,
          type: new GraphQLNonNull(GraphQLID),
          plan: ($row: PgSelectSingleStep) =>
            lambda(
              key.map((column) => $row.get(column)),
              (values: readonly unknown[]) => values.join(SEPARATOR),
              true,
            ),
        }));
        return build.extend(fields, { id }, `Adding the id of ${codec.name}`);
      },
    },
  },
};
