import { usage } from './cli.ts';

/** A time on the command line. */
export function moment(text: string): Date {
  // Without a zone it would mean another moment on each machine.
  const [, day, time = 'T00:00:00Z'] = /^(\d{4}-\d{2}-\d{2})(T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/.exec(text) ?? [];
  const at = new Date(`${day ?? ''}${time}`);
  if (day === undefined || Number.isNaN(at.getTime()) || new Date(`${day}T00:00:00Z`).toISOString().slice(0, 10) !== day) throw usage(`${text} is not a time: write 2026-11-21T12:00:00Z or 2026-11-21`);
  return at;
}
