/** policy.yaml → Policy. Whatever is wrong with the text is an `ERR_POLICY_INVALID` that says where. */
import { createHash } from 'node:crypto';
import { formatProblem, problemsOf } from '../config/problems.ts';
import type { Problem } from '../config/problems.ts';
import { YamlProblem, formatPath, parseYamlDocument } from '../config/yaml-document.ts';
import type { ValuePath, YamlDocument } from '../config/yaml-document.ts';
import { SallyportError } from '../errors.ts';
import { ArgumentRules } from './argument-rule.ts';
import type { ArgumentRule, JsonSchema } from './argument-rule.ts';
import { findingsOf } from './findings.ts';
import { compileConditions } from './conditions.ts';
import { compileGlob } from './glob.ts';
import type { GlobSyntax } from './glob.ts';
import type { Binding, Condition, Grant, Policy, Role, Rule } from './policy.ts';
import { policyKeysAt, policySchema } from './schema.ts';
import type { BindingInput, GrantInput, RoleInput, WhenInput } from './schema.ts';

export interface ParsePolicyOptions {
  /** Names the file in messages. Default `policy.yaml`. */
  readonly file?: string;
}

/** An empty text is a policy that denies everything. */
export function parsePolicy(yamlText: string, options: ParsePolicyOptions = {}): Policy {
  const file = options.file ?? 'policy.yaml';
  const document = readDocument(yamlText, file);
  const parsed = policySchema.safeParse(document.value ?? {});
  if (!parsed.success) throw invalid(file, problemsOf(parsed.error, document, policyKeysAt), parsed.error);

  const compiler = new Compiler(document);
  const roles = new Map(Object.entries(parsed.data.roles).map(([name, role]) => [name, compiler.role(name, role)]));
  const bindings = parsed.data.bindings.map((binding, index) => compiler.binding(binding, index, roles));
  if (compiler.problems.length > 0) throw invalid(file, compiler.problems);
  const revision = createHash('sha256').update(yamlText).digest('hex').slice(0, 16);
  const { onToolChange, onNewTool } = parsed.data;
  return { file, revision, roles, bindings, onToolChange, onNewTool, findings: findingsOf(roles, bindings) };
}

function readDocument(text: string, file: string): YamlDocument {
  try {
    return parseYamlDocument(text);
  } catch (error) {
    if (error instanceof YamlProblem) throw invalid(file, [{ place: error.place, path: '', message: error.message }], error);
    throw error;
  }
}

function invalid(file: string, problems: readonly Problem[], cause?: unknown): SallyportError {
  const lines = problems.map((problem) => formatProblem(file, problem));
  const [first] = problems;
  return new SallyportError('ERR_POLICY_INVALID', lines.join('\n'), {
    facts: { file, line: first?.place.line, column: first?.place.column, path: first?.path, problems: lines },
    cause,
  });
}

/** Compiles what has the right shape, and collects what turns out wrong on the way. */
class Compiler {
  readonly problems: Problem[] = [];
  readonly #document: YamlDocument;
  readonly #arguments = new ArgumentRules();

  constructor(document: YamlDocument) {
    this.#document = document;
  }

  role(name: string, input: RoleInput): Role {
    const at = ['roles', name];
    return {
      name,
      description: input.description,
      grants: input.grants.map((grant, index) => this.#grant(grant, [...at, 'grants', index])),
      deny: input.deny.map((grant, index) => this.#grant(grant, [...at, 'deny', index])),
      limits: { calls: input.limits?.calls, concurrent: input.limits?.concurrent },
    };
  }

  binding(input: BindingInput, index: number, roles: ReadonlyMap<string, Role>): Binding {
    const at = ['bindings', index];
    const named = [...(input.role ?? []), ...(input.roles ?? [])];
    if (named.length === 0) this.#problem(at, 'names no role: add role: NAME');
    for (const [position, role] of named.entries()) {
      const key = input.role === undefined ? 'roles' : 'role';
      if (!roles.has(role)) this.#problem([...at, key, position], `no role is named ${role}: add it under roles, or bind to ${listOf([...roles.keys()])}`);
    }
    return { path: formatPath(at), line: this.#line(at), roles: [...new Set(named)], conditions: this.#conditions(input.when, [...at, 'when']) };
  }

  #conditions(when: WhenInput, at: ValuePath): readonly Condition[] {
    const conditions = compileConditions(when);
    if (conditions.length === 0) {
      this.#problem(at, 'has no condition and would match every certificate: add one, such as organizationalUnit; if every certificate is meant, write dangerouslyAnyCertificate: true');
    }
    if (when.dangerouslyAnyCertificate === true && conditions.some(({ attribute }) => attribute !== 'dangerouslyAnyCertificate' && attribute !== 'trust')) {
      this.#problem(at, 'dangerouslyAnyCertificate stands alone, or with trust: remove it or the other conditions');
    }
    return conditions;
  }

  #grant(input: GrantInput, at: ValuePath): Grant {
    const rules = (key: 'resources' | 'prompts', syntax: GlobSyntax): readonly Rule[] =>
      (input[key] ?? []).map((pattern, index) => this.#rule([...at, key, index], pattern, syntax, undefined));
    return {
      path: formatPath(at),
      line: this.#line(at),
      upstreams: input.upstream.map((pattern) => compileGlob(pattern, 'name')),
      tools: (input.tools ?? []).map((tool, index) => {
        const path = [...at, 'tools', index];
        if (typeof tool === 'string') return this.#rule(path, tool, 'name', undefined);
        return this.#rule(path, tool.name, 'name', this.#argumentRule(tool.arguments, [...path, 'arguments']));
      }),
      resources: rules('resources', 'uri'),
      prompts: rules('prompts', 'name'),
      logging: input.logging === true,
    };
  }

  #rule(at: ValuePath, pattern: string, syntax: GlobSyntax, argumentRule: ArgumentRule | undefined): Rule {
    return { path: formatPath(at), line: this.#line(at), glob: compileGlob(pattern, syntax), arguments: argumentRule };
  }

  #argumentRule(schema: JsonSchema, at: ValuePath): ArgumentRule | undefined {
    try {
      return this.#arguments.compile(schema);
    } catch (error) {
      this.#problem(at, `not a usable JSON Schema (draft 2020-12): ${schemaMessage(error)}`);
      return undefined;
    }
  }

  #line(at: ValuePath): number {
    return this.#document.locate(at).line;
  }

  #problem(at: ValuePath, message: string): void {
    this.problems.push({ place: this.#document.locate(at), path: formatPath(at), message });
  }
}

const listOf = (names: readonly string[]): string => (names.length === 0 ? 'one that exists' : names.join(', '));

function schemaMessage(error: unknown): string {
  const text = (error instanceof Error ? error.message : 'it cannot be compiled').replace(/^strict mode: /, '');
  if (text.startsWith('unknown format')) return `${text.replace(/ in schema.*/, '')}: use pattern instead of format`;
  if (text.startsWith('missing type')) return `${text.replace(/ at "[^"]*" \(strictTypes\)$/, '')}: say which type is meant, otherwise other types pass unchecked`;
  return text.replace(/^schema is invalid: data/, 'at ');
}
