// @vitest-environment node
import { expect, test } from "vitest";
import { complaints, snippetsOf } from "./support/snippets";

test.each(["README.md", "../docs/authentication.md"])("the TypeScript in %s compiles", (file) => {
  const snippets = snippetsOf(file);
  expect(snippets.length).toBeGreaterThan(0);
  expect(complaints(snippets)).toEqual([]);
});

test("a snippet that does not compile is found, with its line", () => {
  const [snippet] = snippetsOf("README.md");
  const wrong = `import { Transcription } from "./lib/moshi";\nnew Transcription({ encoder: 1 });\n`;
  expect(complaints([{ path: snippet!.path, text: wrong }])).toEqual([expect.stringContaining("line 2 of it")]);
});
