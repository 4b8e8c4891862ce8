/** A document with the types of its variables and of what it answers. */
export interface Operation<Data, Variables> {
  name: string;
  /** SHA-256 of the text: the id of the persisted operation. */
  id: string;
  text: string;
  /** Never there: it carries the types. */
  readonly types?: (variables: Variables) => Data;
}
