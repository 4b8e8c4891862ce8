/** Checks values of scalars before execution, so that the error names the argument. */
import { GraphQLError, Kind, type ValueNode } from 'postgraphile/graphql';

const TIME = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?(?:Z|[+-](\d\d)(?::?(\d\d))?)?)?$/i;
const MAX_BIGINT = 2n ** 63n;

/** Accepts ISO 8601 only: PostgreSQL also accepts words such as "tomorrow", whose meaning changes. */
function isTime(text: string): boolean {
  const [matched, year, month, day, hour = 0, minute = 0, second = 0, offsetHour = 0, offsetMinute = 0] = (TIME.exec(text) ?? []).map(
    (each, place) => (place === 0 ? 1 : Number(each ?? 0)),
  );
  if (!matched || !year || !month || !day) return false;
  const date = new Date(Date.UTC(2000, month - 1, day));
  date.setUTCFullYear(year, month - 1, day);
  return (
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    hour < 24 &&
    minute < 60 &&
    second < 60 &&
    offsetHour < 15 &&
    offsetMinute < 60
  );
}

const isBigInt = (text: string): boolean => /^[+-]?\d{1,19}$/.test(text) && BigInt(text) < MAX_BIGINT && BigInt(text) >= -MAX_BIGINT;

const CHECKS: Record<string, { is: (text: string) => boolean; expected: string }> = {
  Datetime: { is: isTime, expected: 'a time such as "2027-01-31T12:00:00Z", of the years 1 to 9999' },
  Date: { is: (text) => /^\d{4}-\d\d-\d\d$/.test(text) && isTime(text), expected: 'a day such as "2027-01-31"' },
  BigInt: { is: isBigInt, expected: 'a whole number of 64 bits' },
};

/** Adds the checks to the scalars of the schema. */
export const ScalarsPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresScalarsPlugin',
  version: '1.0.0',
  schema: {
    hooks: {
      GraphQLScalarType(config) {
        const check = CHECKS[config.name];
        if (!check) return config;
        const checked = (value: unknown): unknown => {
          if (!check.is(String(value))) throw new GraphQLError(`This is not ${check.expected}.`);
          return value;
        };
        const { parseValue, parseLiteral } = config;
        return {
          ...config,
          parseValue: (value: unknown) => checked(parseValue ? parseValue(value) : value),
          parseLiteral: (node: ValueNode, variables?: Record<string, unknown> | null) =>
            checked(node.kind === Kind.INT && config.name === 'BigInt' ? node.value : parseLiteral?.(node, variables)),
        };
      },
    },
  },
};
