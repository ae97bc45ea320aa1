// Calls a server that is busy at first with the stock SDKs, which retry by themselves, and prints what they gave.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [url, which] = process.argv.slice(2);
const chat = { model: "m", max_tokens: 9, messages: [{ role: "user", content: "fast" }] };
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 9 });
const claude = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 9 });
const calls = {
  openai: async () => (await openai.chat.completions.create(chat)).choices[0].message.content,
  claude: async () => (await claude.messages.create(chat)).content[0].text,
};
console.log(JSON.stringify(await calls[which]()));
