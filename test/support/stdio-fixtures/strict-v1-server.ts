/** Ends, as some servers do, on a request that comes before initialize. */
process.stdin.on('data', (chunk: Buffer) => {
  const { id, method } = JSON.parse(chunk.toString('utf8')) as { id: number; method: string };
  if (method !== 'initialize') process.exit(1);
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result: { protocolVersion: '2025-06-18', capabilities: {}, serverInfo: { name: 'strict', version: '1' } } })}\n`);
});
