/** Structured logs on standard error: constant messages, facts as fields, secrets redacted by path. */
import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';
import { CodedError } from '../../ca/errors.ts';
import { codeOf } from '../errors.ts';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** Names that never carry anything but a secret, at the top and one and two levels down. */
const secretNames = ['passphrase', 'password', 'token', 'secret', 'key', 'privateKey', 'keyPem', 'authorization', 'cookie', 'arguments', 'csr', '["mcp-session-id"]', '["set-cookie"]'];

const under = (prefix: string, name: string): string => (name.startsWith('[') ? `${prefix}${name}` : `${prefix}.${name}`);

export const redactedPaths: readonly string[] = secretNames.flatMap((name) => [name, under('*', name), under('*.*', name)]);

export const createLogger = (options: { level: LogLevel; destination?: DestinationStream }): Logger =>
  pino(
    {
      level: options.level,
      base: {},
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: [...redactedPaths], censor: '[redacted]' },
      serializers: { error: serializeError },
    },
    options.destination ?? pino.destination({ fd: 2, sync: true }),
  );

/** Code, message and facts; the stack only of what is not ours. */
const serializeError = (error: unknown): unknown => {
  if (!(error instanceof Error)) return { code: 'ERR_INTERNAL', message: String(error) };
  if (error instanceof CodedError) {
    return { code: error.code, message: error.message, ...error.facts, ...(error.cause instanceof Error ? { cause: error.cause.message } : {}) };
  }
  return { code: codeOf(error), message: error.message, stack: error.stack };
};
