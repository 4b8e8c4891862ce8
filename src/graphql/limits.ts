/** What one request may ask for, and the sizes of pages: src/constants.ts says what each is. */
import { LIMITS as ALL } from '../constants.ts';

export const LIMITS = ALL.graphql;
