/** The stdio bridge as a process of its own: URL and identity directory as arguments. */
import { createIdentityFetch } from '../../src/bridge/identity-fetch.ts';
import { startStdioBridge } from '../../src/bridge/stdio-bridge.ts';

const [url = '', identity = ''] = process.argv.slice(2);
const identityFetch = createIdentityFetch({ identity, pollMs: 50, onIdentity: () => bridge.wake() });
const bridge = startStdioBridge({
  url: new URL(url),
  fetch: identityFetch,
  input: process.stdin,
  output: process.stdout,
  notice: ({ message }) => void process.stderr.write(`sallyport: ${message}\n`),
  backoff: { firstMs: 20, longestMs: 200 },
});
process.exitCode = await bridge.done;
identityFetch.close();
