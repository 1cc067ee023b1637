/** The bounds of one stdio upstream. */
export interface StdioLimits {
  /** Sessions and children of modern principals, and so children, at a time. */
  readonly sessions: number;
  /** One line of the child's stdout. A longer one is dropped. */
  readonly lineBytes: number;
  /** Requests of one session that await their response. */
  readonly requestsInFlight: number;
  /** Events kept per stream for resumption. */
  readonly eventsPerStream: number;
  /** Bytes kept per stream for resumption; the latest event is always kept. */
  readonly bytesPerStream: number;
  /** Ended streams that can still be resumed, per session. */
  readonly endedStreams: number;
  /** Bytes kept for all ended streams of a session. */
  readonly endedStreamBytes: number;
  /** Read ahead of the consumer of a stream; beyond it the child's stdout is not read. */
  readonly pendingBytes: number;
  /** A request silent for this long is answered with a stream, so that the peer sees headers and can resume. */
  readonly openStreamAfterMs: number;
  /** How long a cancelled request may still bring its response. */
  readonly cancelGraceMs: number;
  /** A child of modern requests with nothing in flight ends after this time. */
  readonly idleMs: number;
  /** What does not answer `server/discover` within this time is taken for a server of the legacy era. */
  readonly eraProbeMs: number;
  /** Time a probed child has to answer anything at all; npx may have to fetch it first. */
  readonly eraStartMs: number;
  /** Between the polite and the final signal to a child. */
  readonly killAfterMs: number;
  /** One line of stderr in the log; the rest is cut. */
  readonly stderrLineBytes: number;
  /** Lines of stderr in the log per minute and child; the rest is counted. */
  readonly stderrLinesPerMinute: number;
}

const mebibyte = 1024 * 1024;

export const defaultStdioLimits: StdioLimits = {
  sessions: 256,
  lineBytes: 16 * mebibyte,
  requestsInFlight: 256,
  eventsPerStream: 256,
  bytesPerStream: 4 * mebibyte,
  endedStreams: 16,
  endedStreamBytes: 16 * mebibyte,
  pendingBytes: mebibyte,
  openStreamAfterMs: 2_000,
  cancelGraceMs: 1_000,
  idleMs: 600_000,
  eraProbeMs: 5_000,
  eraStartMs: 60_000,
  killAfterMs: 2_000,
  stderrLineBytes: 2_048,
  stderrLinesPerMinute: 120,
};
