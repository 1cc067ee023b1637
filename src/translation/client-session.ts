/** One legacy MCP client's session, which a modern MCP server knows nothing of. */
import { SallyportError } from '../errors.ts';
import type { Randomness } from '../../ca/ports.ts';
import { logLevels } from '../mcp/envelope.ts';
import type { JsonRpcResponse, RequestId } from '../mcp/message.ts';
import { modernRevision } from '../mcp/revisions.ts';
import type { Upstream, UpstreamAnswer, UpstreamRequest } from '../upstream/upstream.ts';
import { ChangeStream } from './change-stream.ts';
import { errorText, fieldsOf, isFields, outgoingRequest, paramsOf, readAnswer, resultText } from './fields.ts';
import type { Fields, Outcome } from './fields.ts';
import type { TranslationLimits } from './limits.ts';
import { ModernCall } from './modern-call.ts';
import { oneResponse } from './one-response.ts';
import { toModernParams } from './requests.ts';
import type { ClientFacts, OnBehalf } from './requests.ts';
import { KnownTools } from './tool-facts.ts';

export interface ClientSessionOptions {
  readonly upstream: Upstream;
  readonly limits: TranslationLimits;
  readonly randomness: Randomness;
  readonly client: ClientFacts;
  /** What the MCP server said to `server/discover`. */
  readonly capabilities: Fields;
  readonly onBehalf: OnBehalf;
  /** Ids of requests to the MCP server, unique among all sessions. */
  readonly newId: () => string;
}

const common: ReadonlySet<string> = new Set([
  'tools/list', 'tools/call', 'prompts/list', 'prompts/get', 'resources/list', 'resources/templates/list', 'resources/read', 'completion/complete',
]);

export class ClientSession {
  readonly tools = new KnownTools();
  readonly #options: ClientSessionOptions;
  readonly #calls = new Map<RequestId, ModernCall>();
  /** Questions put to the client, by the id they have on the wire. */
  readonly #questions = new Map<RequestId, (outcome: Outcome) => void>();
  readonly #changes: ChangeStream;
  #onBehalf: OnBehalf;
  #level: string | undefined;
  #lastQuestion = 0;

  constructor(options: ClientSessionOptions) {
    this.#options = options;
    this.#onBehalf = options.onBehalf;
    this.#changes = new ChangeStream({
      capabilities: options.capabilities,
      pendingBytes: options.limits.pendingBytes,
      listen: (notifications, signal) => this.send('subscriptions/listen', { notifications }, { signal, onBehalf: this.#onBehalf }),
    });
  }

  get principalId(): string {
    return this.#options.onBehalf.principal.id;
  }

  get client(): ClientFacts {
    return this.#options.client;
  }

  get limits(): TranslationLimits {
    return this.#options.limits;
  }

  get(signal: AbortSignal): UpstreamAnswer {
    return this.#changes.attach(signal);
  }

  async post(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const [message] = request.messages;
    this.#onBehalf = { principal: request.principal, roles: request.roles, address: request.address };
    if (message?.kind === 'response') return this.#answered(message, request.body);
    if (message?.kind === 'notification') {
      const id = message.params?.requestId;
      if (message.method === 'notifications/cancelled' && (typeof id === 'string' || typeof id === 'number')) this.#calls.get(id)?.cancel();
      return { kind: 'empty', status: 202 };
    }
    if (message === undefined) throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'a POST needs a message');
    const { id, method } = message;
    const params = paramsOf(request.body);
    switch (method) {
      case 'ping':
        return json(resultText(id, {}));
      case 'logging/setLevel':
        return json(this.#setLevel(id, params));
      case 'resources/subscribe':
      case 'resources/unsubscribe':
        return json(await this.#subscribe(id, method, params));
      default: {
        if (!common.has(method) || params.task !== undefined) {
          throw new SallyportError('ERR_MCP_UNTRANSLATABLE', 'the MCP server speaks the modern era, which has no counterpart of this request', { facts: { upstream: this.#options.upstream.name, method } });
        }
        if (this.#calls.has(id)) throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'a request of this session with the same id awaits its response: use each id once');
        const call = new ModernCall(this, { id, method, params, onBehalf: this.#onBehalf, signal: request.signal });
        this.#calls.set(id, call);
        return call.start(() => this.#calls.delete(id));
      }
    }
  }

  /** Ends everything of it; calls at hand are taken back. */
  end(): void {
    this.#changes.end();
    for (const call of this.#calls.values()) call.cancel();
    this.#questions.clear();
  }

  /** Sends a request to the MCP server with this client's envelope. */
  send(method: string, params: Fields, { signal, onBehalf, paramHeaders }: { readonly signal: AbortSignal; readonly onBehalf: OnBehalf; readonly paramHeaders?: Readonly<Record<string, string>> | undefined }): Promise<UpstreamAnswer> {
    const { client, newId, upstream } = this.#options;
    const { message, body } = outgoingRequest(newId(), method, toModernParams(params, client, this.#level));
    return upstream.exchange({
      era: 'modern', method: 'POST', ...onBehalf, session: undefined, protocolVersion: modernRevision, lastEventId: undefined,
      messages: [message], body, paramHeaders: paramHeaders ?? {}, signal,
    });
  }

  /** One page of the tools, asked for by ourselves. */
  async toolsPage(cursor: unknown, how: { readonly signal: AbortSignal; readonly onBehalf: OnBehalf }): Promise<Fields> {
    const response = await oneResponse((signal) => this.send('tools/list', cursor === undefined ? {} : { cursor }, { ...how, signal }), how);
    return fieldsOf(response.result);
  }

  /** A new question to the client. Its id is ours, and unique within the session. */
  question(onAnswer: (outcome: Outcome) => void): RequestId {
    this.#lastQuestion += 1;
    const id = `question-${this.#lastQuestion}`;
    this.#questions.set(id, onAnswer);
    return id;
  }

  withdraw(id: RequestId): void {
    this.#questions.delete(id);
  }

  elicitationId(): string {
    return Buffer.from(this.#options.randomness.bytes(16)).toString('base64url');
  }

  /** @throws SallyportError `ERR_MCP_UNSOLICITED` */
  #answered(message: JsonRpcResponse, body: string | undefined): UpstreamAnswer {
    const onAnswer = this.#questions.get(message.id);
    if (onAnswer === undefined) throw new SallyportError('ERR_MCP_UNSOLICITED', 'no request of the upstream awaits this response', { facts: { upstream: this.#options.upstream.name } });
    this.#questions.delete(message.id);
    const [exact = {}] = readAnswer(body ?? '{}');
    onAnswer(message.error === undefined ? { result: fieldsOf(exact.result) } : { error: message.error });
    return { kind: 'empty', status: 202 };
  }

  #setLevel(id: RequestId, { level }: Fields): string {
    if (!isFields(this.#options.capabilities.logging)) return errorText(id, { code: -32601, message: 'Method not found' });
    if (typeof level !== 'string' || !logLevels.includes(level)) return errorText(id, { code: -32602, message: 'level must be a syslog severity' });
    this.#level = level;
    return resultText(id, {});
  }

  async #subscribe(id: RequestId, method: 'resources/subscribe' | 'resources/unsubscribe', { uri }: Fields): Promise<string> {
    const { capabilities, limits } = this.#options;
    if (fieldsOf(capabilities.resources).subscribe !== true) return errorText(id, { code: -32601, message: 'Method not found' });
    if (typeof uri !== 'string') return errorText(id, { code: -32602, message: 'uri must be a text' });
    if (method === 'resources/unsubscribe') {
      // The client is rid of it whether or not the MCP server could be told at once.
      await this.#changes.unfollow(uri).catch(() => undefined);
      return resultText(id, {});
    }
    if (this.#changes.resources.size >= limits.resourceSubscriptions && !this.#changes.resources.has(uri)) {
      return errorText(id, { code: -32602, message: 'too many resources are subscribed to: unsubscribe from some' });
    }
    try {
      await this.#changes.follow(uri);
    } catch (error) {
      return errorText(id, { code: -32602, message: error instanceof SallyportError ? error.message : 'the resource cannot be subscribed to' });
    }
    return resultText(id, {});
  }
}

const json = (text: string): UpstreamAnswer => ({ kind: 'json', status: 200, text });
