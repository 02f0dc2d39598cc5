/** The TypeScript that documentation shows, checked as the project's own is. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const CLIENT = fileURLToPath(new URL("../..", import.meta.url));

export interface Snippet {
  /** Of the virtual file that it is checked as. */
  path: string;
  text: string;
}

/** The fenced `ts` and `tsx` blocks of a Markdown file, each as a module in `src/`. `file`: relative to `client/`. */
export function snippetsOf(file: string): Snippet[] {
  const markdown = readFileSync(join(CLIENT, file), "utf8");
  return [...markdown.matchAll(/^```(tsx?)\n(.*?)^```$/gms)].map(({ 1: kind, 2: text, index }) => {
    const line = markdown.slice(0, index).split("\n").length;
    const name = file.replaceAll(/[^\w]+/g, "-");
    return { path: join(CLIENT, `src/${name}-line-${line}.${kind}`), text: text! };
  });
}

/** What the compiler says against the snippets, by the options of `tsconfig.json`. */
export function complaints(snippets: Snippet[]): string[] {
  const config = ts.getParsedCommandLineOfConfigFile(join(CLIENT, "tsconfig.json"), {}, { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined });
  // What a snippet declares it may leave unused. A snippet is a module, with or without an import.
  const options: ts.CompilerOptions = { ...config?.options, noUnusedLocals: false, moduleDetection: ts.ModuleDetectionKind.Force };
  const texts = new Map(snippets.map(({ path, text }) => [path, text]));
  const disk = ts.createCompilerHost(options);
  const host: ts.CompilerHost = {
    ...disk,
    fileExists: (path) => texts.has(path) || disk.fileExists(path),
    readFile: (path) => texts.get(path) ?? disk.readFile(path),
    getSourceFile: (path, language, ...rest) => {
      const text = texts.get(path);
      return text === undefined ? disk.getSourceFile(path, language, ...rest) : ts.createSourceFile(path, text, language);
    },
    getCurrentDirectory: () => CLIENT,
  };
  const program = ts.createProgram([...texts.keys()], options, host);
  return snippets.flatMap(({ path }) => {
    const source = program.getSourceFile(path);
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    return found.map((d) => {
      const line = source!.getLineAndCharacterOfPosition(d.start ?? 0).line + 1;
      return `${path.slice(dirname(path).length + 1)}, line ${line} of it: ${ts.flattenDiagnosticMessageText(d.messageText, " ")}`;
    });
  });
}
