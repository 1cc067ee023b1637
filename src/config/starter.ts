/** The files `sallyport init` writes: short, commented, and useful as they stand. */
import { stringify } from 'yaml';

export interface StarterConfig {
  readonly name: string;
  readonly trustDomain: string;
  /** Names agents dial, the first one into `gateway.url`. */
  readonly hosts: readonly string[];
  readonly keyAlgorithm: string;
  /** Of CRLs that are made by hand, where the key is away from any network. */
  readonly crlLifetime?: string | undefined;
}

/** Name of the upstream that `serve -- COMMAND` runs, and that the starting policy speaks of. */
export const defaultUpstreamName = 'default';

const scalar = (text: string): string => stringify(text).trimEnd();

export function starterConfig({ name, trustDomain, hosts, keyAlgorithm, crlLifetime }: StarterConfig): string {
  const [host = 'localhost'] = hosts;
  const bracketed = host.includes(':') ? `[${host}]` : host;
  const listenHost = host === 'localhost' || host === '127.0.0.1' || host === '::1' ? bracketed : '0.0.0.0';
  return `# Sallyport: the gateway and its certificate authority.
# A running gateway reads this file at start, certificates and the policy whenever they change.

name: ${scalar(name)}
trustDomain: ${scalar(trustDomain)}

gateway:
  listen: ${scalar(`${listenHost}:8443`)}        # agents, mutual TLS
  enroll: ${scalar(`${listenHost}:8444`)}        # enrollment with a token, and renewal
  public: 127.0.0.1:8080        # CRLs, OCSP, CA certificates, health: plain HTTP
  url: ${scalar(`https://${bracketed}:8443`)}   # what agents dial
  enrollUrl: ${scalar(`https://${bracketed}:8444`)}
  allowedHosts:                 # accepted in the Host header
${[...new Set([...hosts, host])].map((each) => `    - ${scalar(each.includes(':') ? `[${each}]` : each.toLowerCase())}`).join('\n')}

# Where verifiers outside fetch CRLs; goes into every certificate.
# publicUrl: http://${bracketed}:8080

ca:
  keyAlgorithm: ${scalar(keyAlgorithm)}
  defaultTtl: 24h
  maxTtl: 90d
  maxLivePerAgent: 2            # two, so that a renewal overlaps
${crlLifetime === undefined ? '' : `  crl:\n    lifetime: ${crlLifetime}               # CRLs are carried from here by hand\n`}
store: sqlite:sallyport.db      # or postgres://user@host/database
policy: policy.yaml

audit:
  maxDelayMs: 50                # decisions are written together, at most this late
  arguments: digest             # or full: keeps tool arguments as they are

# The MCP servers behind the gateway, each at /<name>/mcp; one alone also at /mcp.
# "serve -- COMMAND" (named ${defaultUpstreamName}, at /mcp) and "serve --upstream NAME=URL" take their place.
upstreams: {}
#  files:
#    command: [npx, -y, "@modelcontextprotocol/server-filesystem", /srv/files]
#  warehouse:
#    url: http://127.0.0.1:3000/mcp

log:
  level: info
`;
}

export function starterPolicy({ trustDomain }: { readonly trustDomain: string }): string {
  return `# Who may do what. Certificates lead to roles (bindings), roles to grants.
#   - nothing is allowed unless a grant says so; roles add up; a deny wins over every grant
#   - patterns match from beginning to end, upper and lower case differ
#   - "*" is any text in a name, one segment in a resource URI; "**" is any text in a resource URI
#   - "sallyport policy check" reads this file, "sallyport policy explain" says why
# A running gateway takes a changed file over at once; a bad one is refused and the last good one stays.
#
# The names are those of @modelcontextprotocol/server-everything, to begin with.

roles:
  analyst:
    description: Looks things up
    grants:
      - upstream: ${defaultUpstreamName}
        tools:
          - echo
          - get-sum
          - get-structured-content
          - name: get-annotated-message          # this tool, but not with any arguments
            arguments:                           # JSON Schema
              properties:
                messageType: { type: string, enum: [success, debug] }
              required: [messageType]
        resources:
          - demo://resource/static/document/*
        prompts:
          - simple-prompt
          - args-prompt
    limits: { calls: 600/min, concurrent: 8 }

  operator:
    description: Runs the platform
    grants:
      - upstream: "*"
        tools: ["*"]
        resources: ["**"]
        prompts: ["*"]
        logging: true
    # deny:                                      # wins over every grant
    #   - { upstream: "*", tools: [get-env] }

# Every attribute of a "when" must match; a list means any of these. A certificate with several
# organizational units matches on any of them.
bindings:
  - role: analyst
    when: { organizationalUnit: analytics }
  - role: operator
    when: { organizationalUnit: platform }
# - role: analyst
#   when: { uri: ${scalar(`spiffe://${trustDomain}/agent/reports-*`)} }

# A tool that is not defined as it was at first is recorded, and used all the same. With deny it is
# neither listed nor called until "sallyport tools approve"; onNewTool says the same of tools that are added.
# onToolChange: deny
# onNewTool: deny
`;
}
