import { describe, expect, it } from 'vitest';
import { createLogger } from '../../src/app/log.ts';
import { SallyportError } from '../../src/errors.ts';

const logged = (write: (logger: ReturnType<typeof createLogger>) => void): Record<string, unknown> => {
  const lines: string[] = [];
  write(createLogger({ level: 'trace', destination: { write: (line: string) => void lines.push(line) } }));
  expect(lines).toHaveLength(1);
  return JSON.parse(lines[0] ?? '') as Record<string, unknown>;
};

describe('the log', () => {
  it.each(['passphrase', 'password', 'token', 'secret', 'key', 'privateKey', 'keyPem', 'authorization', 'cookie', 'arguments', 'csr', 'mcp-session-id', 'set-cookie'])(
    'redacts %s at the top, one level and two levels down',
    (name) => {
      const record = logged((logger) => logger.info({ [name]: 'S3CRET', one: { [name]: 'S3CRET', two: { [name]: 'S3CRET' } } }, 'constant message'));
      expect(JSON.stringify(record)).not.toContain('S3CRET');
      expect(record).toMatchObject({ [name]: '[redacted]', one: { [name]: '[redacted]', two: { [name]: '[redacted]' } } });
    },
  );

  it('shows code, message and facts of a coded error and no stack', () => {
    const error = new SallyportError('ERR_UPSTREAM_UNREACHABLE', 'cannot connect: start the server', { facts: { upstream: 'main' }, cause: new Error('ECONNREFUSED') });
    expect(logged((logger) => logger.error({ error }, 'request failed')).error).toEqual({
      code: 'ERR_UPSTREAM_UNREACHABLE', message: 'cannot connect: start the server', upstream: 'main', cause: 'ECONNREFUSED',
    });
  });

  it('shows the stack of an error that is not ours', () => {
    expect(logged((logger) => logger.error({ error: new TypeError('boom') }, 'request failed')).error).toMatchObject({ code: 'ERR_INTERNAL', stack: expect.stringContaining('TypeError: boom') as unknown });
  });
});
