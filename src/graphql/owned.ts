import { API_SCHEMA } from '../database/api_schema.ts';

/**
 * Exposes only the objects of the API's schema that belong to flowgres_owner. Objects of an application in the
 * same schema are not part of the API, nor is what the roles of applications call in SQL.
 */
const OWNER = 'flowgres_owner';
/** Begins the names of what roles of applications call. */
const FOR_APPLICATIONS = /^flowgres_/;

/** Removes objects of other owners before PostGraphile builds types and fields. */
export const OwnedPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresOwnedPlugin',
  version: '1.0.0',
  gather: {
    hooks: {
      pgIntrospection_introspection(_info, { introspection }) {
        const owner = introspection.roles.find((role) => role.rolname === OWNER)?._id;
        const schema = introspection.namespaces.find((namespace) => namespace.nspname === API_SCHEMA)?._id;
        const isForeign = (namespace: string | null, of: string | null, name: string) =>
          namespace === schema && (of !== owner || FOR_APPLICATIONS.test(name));
        const foreign = new Set(
          introspection.classes.filter((each) => isForeign(each.relnamespace, each.relowner, each.relname)).map((each) => each._id),
        );
        remove(introspection.classes, (each) => foreign.has(each._id));
        remove(introspection.attributes, (each) => foreign.has(each.attrelid));
        remove(introspection.indexes, (each) => foreign.has(each.indrelid));
        remove(introspection.constraints, (each) => foreign.has(each.conrelid ?? '') || foreign.has(each.confrelid ?? ''));
        remove(introspection.types, (each) => isForeign(each.typnamespace, each.typowner, each.typname));
        // Two functions of the same name would hide each other.
        remove(introspection.procs, (each) => isForeign(each.pronamespace, each.proowner, each.proname));
      },
    },
  },
};

/** Removes elements in place, since PostGraphile already holds the array. */
function remove<T>(all: T[], unwanted: (each: T) => boolean): void {
  all.splice(0, all.length, ...all.filter((each) => !unwanted(each)));
}
