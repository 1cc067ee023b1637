/** A list in parts of a few fixed sizes, so that the number of different statements, each prepared once, stays small. */
export function* portions<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  let at = 0;
  for (const size of portionSizes) {
    for (; items.length - at >= size; at += size) yield items.slice(at, at + size);
  }
}

const portionSizes = [64, 16, 4, 1];
