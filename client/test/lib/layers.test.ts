// @vitest-environment node
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const FOLDER = fileURLToPath(new URL("../../src/lib/moshi/", import.meta.url));
const importsOf = (file: string) => [...readFileSync(FOLDER + file, "utf8").matchAll(/from "([^"]+)"/g)].map((match) => match[1]!);

test("the library needs nothing of the app, and one package", () => {
  const outside = readdirSync(FOLDER).flatMap(importsOf).filter((from) => !/^\.\/[\w-]+$/.test(from));
  expect(new Set(outside)).toEqual(new Set(["@msgpack/msgpack"]));
});

test("a connection knows no kind of stream", () => {
  const reached = new Set(["connection.ts"]);
  for (const file of reached) {
    for (const from of importsOf(file)) if (from.startsWith("./")) reached.add(`${from.slice(2)}.ts`);
  }
  expect([...reached].filter((file) => /transcription|uplink|encoder/.test(file))).toEqual([]);
});
