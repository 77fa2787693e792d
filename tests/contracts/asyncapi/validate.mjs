// Validate the AsyncAPI document with the parser of the AsyncAPI initiative: its references, its examples, its rules.
import { Parser, fromFile } from "@asyncapi/parser";

const [path] = process.argv.slice(2);
const ERROR = 0;
const found = await fromFile(new Parser(), path).validate();
for (const one of found) {
  console.log(`${one.severity === ERROR ? "error" : "note"} ${(one.path ?? []).join(".")}: ${one.message}`);
}
const errors = found.filter((one) => one.severity === ERROR).length;
console.log(`${path}: ${errors} errors, ${found.length - errors} notes`);
process.exit(errors ? 1 : 0);
