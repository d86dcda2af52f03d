// The little of Python that .npy headers are written in: dictionaries, tuples, lists, strings, integers, booleans.

/** A value of {@link parsePythonLiteral}; tuples and lists are both arrays. */
export type PythonLiteral =
  | string
  | number
  | boolean
  | null
  | PythonLiteral[]
  | { readonly [key: string]: PythonLiteral };

/** Parses one literal that fills `text`. @throws SyntaxError where it cannot */
export function parsePythonLiteral(text: string): PythonLiteral {
  const tokens = text.match(TOKEN) ?? [];
  if (tokens.join("") !== text) throw new SyntaxError("unexpected character");
  const stream = tokens.filter((token) => token.trim() !== "");
  let at = 0;
  const value = parse();
  if (at !== stream.length) throw new SyntaxError(`unexpected ${stream[at]}`);
  return value;

  function parse(): PythonLiteral {
    const token = stream[at++];
    if (token === undefined) throw new SyntaxError("unexpected end");
    if (token === "{") return Object.fromEntries(items("}", entry));
    if (token === "(") return items(")", parse);
    if (token === "[") return items("]", parse);
    if (token in WORDS) return WORDS[token as keyof typeof WORDS];
    if (/^['"]/.test(token)) return token.slice(1, -1);
    if (/^-?\d/.test(token)) return Number.parseInt(token, 10);
    throw new SyntaxError(`unexpected ${token}`);
  }

  function entry(): [string, PythonLiteral] {
    const key = parse();
    if (typeof key !== "string" || stream[at++] !== ":") throw new SyntaxError("expected a key and a colon");
    return [key, parse()];
  }

  function items<T>(close: string, item: () => T): T[] {
    const found: T[] = [];
    while (stream[at] !== close) {
      found.push(item());
      if (stream[at] === ",") at++;
      else if (stream[at] !== close) throw new SyntaxError(`expected ${close}`);
    }
    at++;
    return found;
  }
}

const WORDS = { True: true, False: false, None: null } as const;

// Python 2 wrote long integers as 3L
const TOKEN = /\s+|[{}()[\]:,]|'[^'\\]*'|"[^"\\]*"|-?\d+L?|True|False|None/g;
