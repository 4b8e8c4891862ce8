/** What of schema public is the API: the objects of flowgres_owner. An application's own ones beside them are not exposed. */
const OWNER = 'flowgres_owner';
const SCHEMA = 'public';

/** Removes what belongs to others before PostGraphile makes types and fields of it. */
export const OwnedPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresOwnedPlugin',
  version: '1.0.0',
  gather: {
    hooks: {
      pgIntrospection_introspection(_info, { introspection }) {
        const owner = introspection.roles.find((role) => role.rolname === OWNER)?._id;
        const schema = introspection.namespaces.find((namespace) => namespace.nspname === SCHEMA)?._id;
        const isForeign = (namespace: string | null, of: string | null) => namespace === schema && of !== owner;
        const foreign = new Set(
          introspection.classes.filter((each) => isForeign(each.relnamespace, each.relowner)).map((each) => each._id),
        );
        remove(introspection.classes, (each) => foreign.has(each._id));
        remove(introspection.attributes, (each) => foreign.has(each.attrelid));
        remove(introspection.indexes, (each) => foreign.has(each.indrelid));
        remove(introspection.constraints, (each) => foreign.has(each.conrelid ?? '') || foreign.has(each.confrelid ?? ''));
        remove(introspection.types, (each) => isForeign(each.typnamespace, each.typowner));
        // Two functions of one name would hide both.
        remove(introspection.procs, (each) => isForeign(each.pronamespace, each.proowner));
      },
    },
  },
};

/** In place: PostGraphile holds the array already. */
function remove<T>(all: T[], unwanted: (each: T) => boolean): void {
  all.splice(0, all.length, ...all.filter((each) => !unwanted(each)));
}
