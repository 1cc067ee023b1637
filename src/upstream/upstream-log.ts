/** What an upstream reports through: constant messages, facts as fields. A pino logger is one. */
export interface UpstreamLog {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
}
