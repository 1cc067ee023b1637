/**
 * What a child process gets to see of the gateway's environment: enough to run and to find its
 * files, none of the gateway's own secrets.
 */
const inherited = [
  'PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'LC_ALL', 'LC_CTYPE', 'TZ', 'TERM', 'TMPDIR', 'TMP', 'TEMP',
  // Windows: without these even `node` does not start.
  'SystemRoot', 'SystemDrive', 'windir', 'ComSpec', 'PATHEXT', 'APPDATA', 'LOCALAPPDATA', 'USERPROFILE', 'HOMEDRIVE', 'HOMEPATH',
  'USERNAME', 'ProgramData', 'ProgramFiles', 'ProgramFiles(x86)', 'PROCESSOR_ARCHITECTURE',
];

export interface ChildEnvironmentOptions {
  /** Values of the operator's, over the inherited ones. */
  readonly configured?: Readonly<Record<string, string>> | undefined;
  /** Names the operator lets through besides. */
  readonly inherit?: readonly string[] | undefined;
}

/** The inheritable part of `parent`, with the configured variables over it. */
export const childEnvironment = (parent: Readonly<Record<string, string | undefined>>, { configured = {}, inherit = [] }: ChildEnvironmentOptions = {}): Record<string, string> => {
  const environment: Record<string, string> = {};
  for (const name of [...inherited, ...inherit]) {
    const value = parent[name];
    // bash exports functions as variables: code, not a value.
    if (value !== undefined && !value.startsWith('()')) environment[name] = value;
  }
  return { ...environment, ...configured };
};
