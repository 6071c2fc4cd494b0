// The `ai` SDK by its providers for OpenAI's API: objects, choices, forced tools and words, whole and
// streamed.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, Output, streamObject, streamText, tool } from "ai";
import { z } from "zod";

const [url, apiKey] = process.argv.slice(-2);
const asked = {
  system: "Say it.",
  prompt: "Message: help\nUrgent?",
  maxRetries: 0,
};
const labels = ["calm", "urgent"];
const schema = z.object({ urgency: z.enum(labels) });
const toolChoice = { type: "tool", toolName: "sort" };
const tools = { sort: tool({ description: "Sort it.", inputSchema: schema }) };
const models = {
  openai: createOpenAI({ baseURL: url, apiKey }).chat("big"),
  "openai responses": createOpenAI({ baseURL: url, apiKey })("big"),
  compatible: createOpenAICompatible({
    name: "raisehand",
    baseURL: url,
    apiKey,
    supportsStructuredOutputs: true,
  })("big"),
};

async function say(name, ask) {
  try {
    console.log(JSON.stringify({ case: name, label: await ask(), error: null }));
  } catch (error) {
    console.log(JSON.stringify({ case: name, label: null, error: String(error) }));
  }
}

async function last(parts) {
  let whole;
  for await (whole of parts);
  return whole;
}

for (const [name, model] of Object.entries(models)) {
  const all = { model, ...asked };
  await say(`${name} generateObject`, async () =>
    (await generateObject({ ...all, schema })).object.urgency);
  await say(`${name} generateObject enum`, async () =>
    (await generateObject({ ...all, output: "enum", enum: labels })).object);
  await say(`${name} streamObject`, async () =>
    (await last(streamObject({ ...all, schema }).partialObjectStream)).urgency);
  await say(`${name} generateText Output.object`, async () =>
    (await generateText({ ...all, output: Output.object({ schema }) })).output.urgency);
  await say(`${name} generateText Output.choice`, async () =>
    (await generateText({ ...all, output: Output.choice({ options: labels }) })).output);
  await say(`${name} streamText Output.object`, async () =>
    (await streamText({ ...all, output: Output.object({ schema }) }).output).urgency);
  await say(`${name} generateText tool`, async () =>
    (await generateText({ ...all, tools, toolChoice })).toolCalls[0].input.urgency);
  await say(`${name} generateText required`, async () =>
    (await generateText({ ...all, tools, toolChoice: "required" })).toolCalls[0].input.urgency);
  await say(`${name} streamText tool`, async () =>
    (await streamText({ ...all, tools, toolChoice }).toolCalls)[0].input.urgency);
  await say(`${name} generateText`, async () =>
    ({ YES: "urgent", NO: "calm" })[(await generateText(all)).text]);
  await say(`${name} streamText`, async () =>
    ({ YES: "urgent", NO: "calm" })[await streamText(all).text]);
}
