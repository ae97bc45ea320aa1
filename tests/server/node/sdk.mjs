// Drives the stock OpenAI and Anthropic SDKs against a server and prints what they gave, as one JSON object.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const url = process.argv[2];
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const claude = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const chat = (content) => ({ model: "m", max_tokens: 9, messages: [{ role: "user", content }] });
const failure = async (work) => {
  try {
    await work();
    return null;
  } catch (error) {
    return `${error.constructor.name}: ${error.message}`;
  }
};

const result = {};
result.plain = (await openai.chat.completions.create(chat("fast bird"))).choices[0].message.content;
result.response = (await openai.responses.create({ model: "m", input: "fast bird" })).output_text;
result.chunks = [];
for await (const chunk of await openai.chat.completions.create({ ...chat("a b"), stream: true })) {
  result.chunks.push(chunk.choices[0].delta.content ?? null);
}
result.error = await failure(() => openai.chat.completions.create(chat("BOOM")));
result.seen = [];
result.streamError = await failure(async () => {
  for await (const chunk of await openai.chat.completions.create({ ...chat("a BOOM"), stream: true })) {
    result.seen.push(chunk.choices[0].delta.content);
  }
});
result.claude = (await claude.messages.create(chat("fast bird"))).content[0].text;
result.claudeTexts = [];
const stream = claude.messages.stream(chat("a b"));
stream.on("text", (text) => result.claudeTexts.push(text));
result.claudeStop = (await stream.finalMessage()).stop_reason;
result.claudeError = await failure(() => claude.messages.stream(chat("a BOOM")).finalMessage());
for await (const chunk of await openai.chat.completions.create({ ...chat("openai FOREVER"), stream: true })) {
  result.endless = chunk.choices[0].delta.content;
  break; // the SDK closes the connection
}
const forever = claude.messages.stream(chat("claude FOREVER"));
forever.on("text", () => forever.abort());
result.aborted = await failure(() => forever.finalMessage());
console.log(JSON.stringify(result));
