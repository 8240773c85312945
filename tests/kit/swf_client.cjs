// The AWS SDK for JavaScript v3 as a client that a test drives: one line of JSON in, {operation, params}; one line out, {answer} or {error}.
// Run by node with NODE_PATH at the SDK's folder and the server's address as the argument.
"use strict";
const readline = require("node:readline");
const sdk = require("@aws-sdk/client-swf");

const client = new sdk.SWFClient({
  endpoint: process.argv[2],
  region: "us-east-1",
  credentials: { accessKeyId: "flowdsl", secretAccessKey: "flowdsl" },
  maxAttempts: 1,
});

// JSON has no dates; the SDK has: filters are given in seconds, timestamps come out in seconds.
const DATES = new Set(["oldestDate", "latestDate"]);
const revive = (name, value) => (DATES.has(name) ? new Date(value * 1000) : value);
function plain(name, value) {
  return this[name] instanceof Date ? this[name].getTime() / 1000 : value;
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { operation, params } = JSON.parse(line, revive);
    let told;
    try {
      const { $metadata, ...answer } = await client.send(new sdk[`${operation}Command`](params));
      told = { answer, requestId: $metadata.requestId };
    } catch (error) {
      told = { error: error.name, message: error.message, typed: sdk[error.name] !== undefined && error instanceof sdk[error.name] };
    }
    console.log(JSON.stringify(told, plain));
  }
}

main();
