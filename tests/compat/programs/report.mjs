// Runs the functions of a client's program one after the other, and prints a line for each.
import { readFileSync } from "node:fs";

export const baseURL = process.argv[2];

export async function run(name, ...steps) {
  const found = new URL(`node_modules/${name}/package.json`, import.meta.url);
  console.log(`version ${JSON.parse(readFileSync(found)).version}`);
  for (const step of steps) {
    try {
      await step();
      console.log(`ok ${step.name}`);
    } catch (error) {
      console.log(`FAIL ${step.name} ${String(error?.stack ?? error).replace(/\s+/g, " ").slice(0, 300)}`);
    }
  }
  process.exit(0);
}
