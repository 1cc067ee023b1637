/** The MCP clients we know: where each keeps its configuration, and how a server is written there. Pure. */
import { posix, win32 } from 'node:path';

export const mcpClientNames = ['claude-desktop', 'claude-code', 'vscode', 'cursor', 'codex', 'inspector'] as const;
export type McpClientName = (typeof mcpClientNames)[number];

/** How an MCP client reaches the bridge. */
export type BridgeLaunch = { readonly command: string; readonly args: readonly string[] } | { readonly url: string };

export type SettingValue = string | readonly string[];

export interface ClientWorld {
  readonly platform: NodeJS.Platform;
  readonly home: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface McpClient {
  readonly title: string;
  readonly form: 'json' | 'toml';
  /** The configuration it reads: of the project in the working directory where it has one, of the user otherwise. */
  readonly file: (world: ClientWorld) => string;
  /** The key that holds its servers. */
  readonly section: string;
  /** What stands under the server's name; undefined when it cannot reach the bridge this way. */
  readonly entry: (launch: BridgeLaunch) => Readonly<Record<string, SettingValue>> | undefined;
  /** One command that does the same, or uses the file. */
  readonly commandLine: (name: string, launch: BridgeLaunch, file: string) => readonly string[] | undefined;
  /** What is left to do after its file was written. */
  readonly afterwards: string;
}

/** What of an entry is ours; everything else in it stays as its owner wrote it. */
export const ownedKeys: readonly string[] = ['type', 'command', 'args', 'url'];

const at = ({ platform }: ClientWorld, ...parts: readonly string[]): string => (platform === 'win32' ? win32 : posix).join(...parts);

const stdio = (launch: BridgeLaunch): { command: string; args: readonly string[] } | undefined => ('url' in launch ? undefined : { command: launch.command, args: launch.args });
const typed = (launch: BridgeLaunch): Readonly<Record<string, SettingValue>> => ('url' in launch ? { type: 'http', url: launch.url } : { type: 'stdio', command: launch.command, args: launch.args });
const untyped = (launch: BridgeLaunch): Readonly<Record<string, SettingValue>> => stdio(launch) ?? ('url' in launch ? { url: launch.url } : {});
const none = (): undefined => undefined;

export const mcpClients: Readonly<Record<McpClientName, McpClient>> = {
  'claude-desktop': {
    title: 'Claude Desktop',
    form: 'json',
    file: (world) => at(world, claudeDesktopDirectory(world), 'claude_desktop_config.json'),
    section: 'mcpServers',
    entry: stdio,
    commandLine: none,
    afterwards: 'quit Claude Desktop and start it again',
  },
  'claude-code': {
    title: 'Claude Code',
    form: 'json',
    file: (world) => at(world, world.cwd, '.mcp.json'),
    section: 'mcpServers',
    entry: typed,
    commandLine: (name, launch) => ('url' in launch ? ['claude', 'mcp', 'add', '--transport', 'http', name, launch.url] : ['claude', 'mcp', 'add', name, '--', launch.command, ...launch.args]),
    afterwards: 'start claude in this directory and approve the server',
  },
  vscode: {
    title: 'VS Code',
    form: 'json',
    file: (world) => at(world, world.cwd, '.vscode', 'mcp.json'),
    section: 'servers',
    entry: typed,
    commandLine: none,
    afterwards: 'open the folder in VS Code and start the server in the file',
  },
  cursor: {
    title: 'Cursor',
    form: 'json',
    file: (world) => at(world, world.cwd, '.cursor', 'mcp.json'),
    section: 'mcpServers',
    entry: untyped,
    commandLine: none,
    afterwards: 'open the folder in Cursor and switch the server on in its settings',
  },
  codex: {
    title: 'Codex',
    form: 'toml',
    file: (world) => at(world, world.env['CODEX_HOME'] || at(world, world.home, '.codex'), 'config.toml'),
    section: 'mcp_servers',
    entry: untyped,
    commandLine: (name, launch) => ('url' in launch ? undefined : ['codex', 'mcp', 'add', name, '--', launch.command, ...launch.args]),
    afterwards: 'start codex again',
  },
  inspector: {
    title: 'MCP Inspector',
    form: 'json',
    file: (world) => at(world, world.cwd, 'mcp.json'),
    section: 'mcpServers',
    entry: (launch) => ('url' in launch ? { type: 'streamable-http', url: launch.url } : typed(launch)),
    commandLine: (name, _launch, file) => ['npx', '@modelcontextprotocol/inspector', '--config', file, '--server', name],
    afterwards: 'start the Inspector with the command below',
  },
};

function claudeDesktopDirectory(world: ClientWorld): string {
  switch (world.platform) {
    case 'darwin':
      return at(world, world.home, 'Library', 'Application Support', 'Claude');
    case 'win32':
      return at(world, world.env['APPDATA'] || at(world, world.home, 'AppData', 'Roaming'), 'Claude');
    default:
      return at(world, world.env['XDG_CONFIG_HOME'] || at(world, world.home, '.config'), 'Claude');
  }
}

/** A command as one types it. */
export function asCommandLine(words: readonly string[], platform: NodeJS.Platform): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/u.test(word) || (platform === 'win32' && /^[\w@+=:,./\\-]+$/u.test(word)) ? word : platform === 'win32' ? `"${word.replaceAll('"', '\\"')}"` : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ');
}
