/** Starts a child of its own, as npx does; neither minds SIGTERM or the end of stdin. */
import { spawn } from 'node:child_process';

process.on('SIGTERM', () => undefined);
setInterval(() => undefined, 1000);
const script = "process.on('SIGTERM',()=>{});setInterval(()=>{},1000);console.log('up')";
// The grandchild holds the same stdout, as a server started by npx does; the first byte says that its handler stands.
const grandchild = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
process.stdin.on('data', (chunk: Buffer) => {
  const { id } = JSON.parse(chunk.toString('utf8')) as { id: number };
  const answer = (): void => {
    process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result: { protocolVersion: '2025-06-18', pids: [process.pid, grandchild.pid] } })}\n`);
  };
  grandchild.stdout.once('data', answer);
});
