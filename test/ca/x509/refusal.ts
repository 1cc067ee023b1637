/** The code and message a function refuses with. */
import { CaError } from '../../../ca/errors.ts';

export function refusal(action: () => unknown): { code: string; message: string } {
  try {
    action();
  } catch (error) {
    if (error instanceof CaError) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: 'accepted', message: '' };
}
