/** As the gateway names itself to MCP servers (`clientInfo`). */
import { readFileSync } from 'node:fs';

export interface GatewayInfo {
  readonly name: string;
  readonly version: string;
}

export const gatewayInfo = (): GatewayInfo => (read ??= { name: 'sallyport', version: packageVersion() });

let read: GatewayInfo | undefined;

const packageVersion = (): string => {
  // From src/upstream in the repository, from dist/src/upstream in the package.
  for (const place of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8')) as { name?: string; version?: string };
      if (name === 'sallyport' && version !== undefined) return version;
    } catch {
      // Not there: the other place.
    }
  }
  return 'unknown';
};
