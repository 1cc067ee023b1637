#!/usr/bin/env node
// Plain JavaScript that any Node can read, so that an old one gets a sentence instead of a syntax error.
import { existsSync } from 'node:fs';

const major = Number(process.versions.node.split('.')[0]);
if (major < 24) {
  process.stderr.write(
    'error ERR_USAGE: Sallyport needs Node 24 or newer, and this is ' + process.versions.node + '\n' +
      '  install it from https://nodejs.org, or run: npx -p node@26 -p sallyport sallyport ' + process.argv.slice(2).join(' ') + '\n',
  );
  process.exit(2);
}

// A reader that went away (| head) is no failure of ours.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

// The repository runs its sources; the package runs what was built from them.
const source = new URL('../src/cli/main.ts', import.meta.url);
const { run, processIo } = await import(existsSync(source) ? source.href : new URL('../dist/src/cli/main.js', import.meta.url).href);

// The first signal asks the command to finish, the second ends it.
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    if (stop.signal.aborted) process.exit(1);
    stop.abort(signal);
  });
}

process.exitCode = await run(process.argv.slice(2), processIo(stop.signal));
