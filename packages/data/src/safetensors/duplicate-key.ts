/**
 * The first key that stands twice in the outermost object of a JSON text, or undefined. `JSON.parse` keeps the
 * last one silently; in a safetensors header a duplicate means two tensors claim one name.
 *
 * @param json text that `JSON.parse` accepts
 */
export function duplicateKey(json: string): string | undefined {
  const seen = new Set<string>();
  let depth = 0;
  for (let i = 0; i < json.length; i++) {
    const c = json[i];
    if (c === "{" || c === "[") depth++;
    else if (c === "}" || c === "]") depth--;
    else if (c === '"') {
      const start = i++;
      while (json[i] !== '"') i += json[i] === "\\" ? 2 : 1;
      if (depth !== 1) continue;
      let next = i + 1;
      while (/\s/.test(json[next] ?? "")) next++;
      // at depth 1 only keys are followed by a colon
      if (json[next] !== ":") continue;
      const key = JSON.parse(json.slice(start, i + 1)) as string;
      if (seen.has(key)) return key;
      seen.add(key);
    }
  }
  return undefined;
}
