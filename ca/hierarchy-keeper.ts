/** The hierarchy in force, and how the next one takes its place: in this process, or because another wrote it. */
import { recordAuthorities } from './adoption.ts';
import type { AuthorityOptions } from './authority-options.ts';
import { changeAlone, readHierarchyList, writeHierarchyList } from './hierarchy-files.ts';
import { loadHierarchy } from './hierarchy.ts';
import type { Hierarchy, Issuer } from './issuer.ts';
import { KeyedLock } from './keyed-lock.ts';
import type { Step } from './rotation.ts';

export interface HierarchyFollower {
  /** Before anything works with the next hierarchy. What it throws leaves the one there is in force. */
  before(next: Hierarchy): Promise<void>;
  after(): void;
}

export interface HierarchyKeeperOptions extends Pick<AuthorityOptions, 'store' | 'clock' | 'passphrase'> {
  readonly hierarchy: Hierarchy;
  /** Puts the next one in force. */
  readonly onAdopted: (hierarchy: Hierarchy) => void;
}

export class HierarchyKeeper {
  readonly #options: HierarchyKeeperOptions;
  readonly #followers = new Set<HierarchyFollower>();
  readonly #lock = new KeyedLock();
  #hierarchy: Hierarchy;

  constructor(options: HierarchyKeeperOptions) {
    this.#options = options;
    this.#hierarchy = options.hierarchy;
  }

  get current(): Hierarchy {
    return this.#hierarchy;
  }

  follow(follower: HierarchyFollower): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  /** Takes over what another process wrote. Answers whether it did. @throws as `loadHierarchy` */
  refresh(): Promise<boolean> {
    return this.#lock.run('hierarchy', () => this.#refresh());
  }

  /** One change at a time, whatever process makes it. Answers with the CAs it is about. */
  change(step: (hierarchy: Hierarchy) => Promise<Step>): Promise<readonly Issuer[]> {
    const { directory } = this.#hierarchy;
    const change = async (): Promise<readonly Issuer[]> => {
      await this.#refresh();
      const { next, changed } = await step(this.#hierarchy);
      if (directory !== undefined) await writeHierarchyList(directory, next);
      await this.#adopt(next);
      return next.issuers.filter(({ name }) => changed.includes(name));
    };
    return this.#lock.run('hierarchy', () => (directory === undefined ? change() : changeAlone(directory, change)));
  }

  async #refresh(): Promise<boolean> {
    const { directory, sequence } = this.#hierarchy;
    if (directory === undefined || (await readHierarchyList(directory)).sequence === sequence) return false;
    await this.#adopt(await loadHierarchy({ directory, passphrase: this.#options.passphrase, before: this.#hierarchy }));
    return true;
  }

  async #adopt(next: Hierarchy): Promise<void> {
    await recordAuthorities(next, this.#options);
    // Whoever judges certificates knows a CA before there is one of it.
    for (const follower of this.#followers) await follower.before(next);
    this.#hierarchy = next;
    this.#options.onAdopted(next);
    for (const follower of this.#followers) follower.after();
  }
}
