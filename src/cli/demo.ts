/** `sallyport demo`: the main job, shown and checked, with nothing left behind. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { dirname, join } from 'node:path';
import { tellStory } from '../demo/story.ts';
import { Transcript } from '../demo/transcript.ts';
import type { ExitCode } from '../errors.ts';
import { common } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';

export const registerDemo: RegisterCommand = (program, cli) => {
  const command = program.command('demo').description('see it all work in ten seconds: nothing is needed, nothing is left behind');
  common(command, ['sallyport demo', 'sallyport demo --json']);
  command.addHelpText('after', '\nExit code 0 only when everything that is promised was observed, else 1.');
  command.action(cli.action(demo));
};

async function demo({ io, output, run }: Call<object>): Promise<ExitCode> {
  const transcript = new Transcript({
    heading: (text) => shown(output.json, () => output.line(`\n${output.paint('bold', text)}`)),
    line: (text) => shown(output.json, () => output.line(`  ${text}`)),
    outcome: ({ promise, observed, held }) => shown(output.json, () => output.line(`${held ? output.paint('green', '✔') : output.paint('red', '✘')} ${promise}\n  ${output.paint('dim', observed)}`)),
  });
  const started = performance.now();
  await tellStory(transcript, {
    clock: io.clock,
    signal: io.signal,
    server: everythingServer(),
    bridge: [process.execPath, fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '../../bin/sallyport.js' : '../../../bin/sallyport.js', import.meta.url))],
    command: async (argv) => {
      const written: string[] = [];
      const stdout = { write: (chunk: string | Uint8Array) => written.push(typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('utf8')) };
      // The demo's own directories: what the user's environment says about theirs is not for it.
      const env = { PATH: io.env['PATH'], NO_COLOR: '1' };
      return { exit: await run(argv, { ...io, env, stdout }), output: written.join('') };
    },
  });
  const seconds = (performance.now() - started) / 1_000;
  const held = transcript.outcomes.filter((outcome) => outcome.held).length;
  output.result({ ok: transcript.allHeld, seconds: Number(seconds.toFixed(1)), outcomes: transcript.outcomes }, () =>
    `\n${transcript.allHeld ? output.paint('green', 'all observed') : output.paint('red', 'not all observed')}: ${held} of ${transcript.outcomes.length} in ${seconds.toFixed(1)} s; nothing was left behind\n\nnext\n  sallyport init --name "Acme" --trust-domain acme.internal --host localhost`,
  );
  return transcript.allHeld ? 0 : 1;
}

const shown = (json: boolean, write: () => void): void => {
  if (!json) write();
};

/** In a clone the real MCP server is installed; elsewhere npx fetches it. */
function everythingServer(): readonly string[] {
  try {
    const manifest = createRequire(import.meta.url).resolve('@modelcontextprotocol/server-everything/package.json');
    return [process.execPath, join(dirname(manifest), 'dist', 'index.js'), 'stdio'];
  } catch {
    return ['npx', '-y', '@modelcontextprotocol/server-everything'];
  }
}
