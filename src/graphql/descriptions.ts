/**
 * Turns comments of the database into GraphQL descriptions: with GraphQL's names and without the examples for
 * psql.
 */

/** The example at the end of a comment. */
const SQL_EXAMPLE = /\s*Example: [\s\S]*$/;
const SNAKE_CASE = /\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b/g;

/** Rewrites the comments before PostGraphile builds types and fields from them. */
export const DescriptionsPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresDescriptionsPlugin',
  version: '1.0.0',
  gather: {
    hooks: {
      pgIntrospection_introspection: {
        before: ['PgFakeConstraintsPlugin', 'PgEnumTablesPlugin', 'PgRemoveExtensionResourcesPlugin'],
        callback(_info, { introspection }) {
          const attributes = introspection.attributes.map(({ attname }) => attname);
          const functions = introspection.procs.flatMap(({ proname, proargnames }) => [proname, ...(proargnames ?? [])]);
          const known = new Set([...attributes, ...functions]);
          for (const each of introspection.descriptions) each.description = describe(each.description, known);
        },
      },
    },
  },
};

/**
 * Returns the description for a comment.
 *
 * @param known names of columns, functions and arguments, which GraphQL writes in camel case
 */
export function describe(comment: string, known: ReadonlySet<string>): string {
  const camel = (name: string) => name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  return comment.replace(SQL_EXAMPLE, '').replaceAll(SNAKE_CASE, (name) => (known.has(name) ? camel(name) : name));
}
