import './environment.ts';
import { PgSimplifyInflectionPreset } from '@graphile/simplify-inflection';
import type pg from 'pg';
import { makePgService } from 'postgraphile/adaptors/pg';
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber';
import { PostGraphileConnectionFilterPreset } from 'postgraphile-plugin-connection-filter';
import { NamingPlugin, PartitionedTagsPlugin, TagsPlugin } from './naming.ts';

export function createPreset(pool: pg.Pool): GraphileConfig.Preset {
  return {
    extends: [PostGraphileAmberPreset, PgSimplifyInflectionPreset, PostGraphileConnectionFilterPreset],
    plugins: [NamingPlugin, PartitionedTagsPlugin, TagsPlugin],
    disablePlugins: [
      // A filter through a relation has no bound on what it costs.
      'PgConnectionArgFilterBackwardRelationsPlugin',
      'PgConnectionArgFilterForwardRelationsPlugin',
      // `filter` does what `condition` does.
      'PgConditionArgumentPlugin',
      // Conveniences for Relay 1, and a second way to what `node(nodeId)` gives.
      'QueryQueryPlugin',
      'RegisterQueryNodePlugin',
      'PgMutationPayloadEdgePlugin',
      'NodeAccessorPlugin',
    ],
    gather: { pgStrictFunctions: true },
    pgServices: [makePgService({ pool, schemas: ['public'], pubsub: false })],
    schema: {
      dontSwallowErrors: true,
      sortExport: true,
      connectionFilterComputedColumns: false,
      connectionFilterSetofFunctions: false,
      connectionFilterArrays: false,
      connectionFilterAllowedOperators: ['isNull', 'equalTo', 'notEqualTo', 'in', 'lessThan', 'lessThanOrEqualTo', 'greaterThan', 'greaterThanOrEqualTo'],
    },
  };
}
