// What programs do with OpenAI's npm SDK and with Vercel's for it. Prints what they saw as JSON.
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { cities, failing, key, model, picture, schema, url } from './asked.mjs';

const baseURL = `${url}/v1`;
const client = new OpenAI({ apiKey: key, baseURL, maxRetries: 4 });
const seen = {};
const say = (content) => [{ role: 'user', content }];
const tools = [{ type: 'function', function: { name: 'get_weather', parameters: schema } }];

// The vendor answers the first try with 429.
seen.retried = (await client.chat.completions.create({ model: process.env.RETRY_MODEL, messages: say('one') })).choices[0].message.content;

const stream = await client.chat.completions.create({
  model,
  messages: say('one 🌍'),
  stream: true,
  stream_options: { include_usage: true },
});
seen.streamed = '';
for await (const chunk of stream) {
  seen.streamed += chunk.choices[0]?.delta.content ?? '';
  if (chunk.usage) seen.tokens = chunk.usage.completion_tokens;
}

const called = await client.chat.completions.stream({ model, messages: say(cities), tools }).finalMessage();
const results = called.tool_calls.map(({ id }, number) => ({ role: 'tool', tool_call_id: id, content: `rain ${number}` }));
const { role, content, tool_calls } = called;
const after = await client.chat.completions.create({
  model,
  messages: [...say(cities), { role, content, tool_calls }, ...results],
  tools,
});
seen.tools = called.tool_calls.map((call) => JSON.parse(call.function.arguments).city);
seen.results = after.choices[0].message.content;

const person = z.object({ name: z.string(), age: z.number() });
const parsed = await client.chat.completions.parse({
  model,
  messages: say('{"name": "Ada", "age": 36}'),
  response_format: zodResponseFormat(person, 'person'),
});
seen.parsed = parsed.choices[0].message.parsed;
seen.pictured = (
  await client.chat.completions.create({
    model,
    messages: say([
      { type: 'text', text: 'look' },
      { type: 'image_url', image_url: { url: picture } },
    ]),
  })
).choices[0].message.content;
const { response } = await client.chat.completions.create({ model, messages: say('one') }).withResponse();
seen.requestId = Boolean(response.headers.get('x-request-id'));
seen.missing = await failing(() => client.chat.completions.create({ model: 'gpt-of-nobody', messages: say('one') }));
seen.stranger = await failing(() =>
  new OpenAI({ apiKey: 'sk-wrong', baseURL, maxRetries: 0 }).chat.completions.create({ model, messages: say('one') }),
);

const vercel = createOpenAI({ apiKey: key, baseURL });
const weather = tool({
  description: 'Now.',
  inputSchema: jsonSchema(schema),
  execute: async ({ city }) => `rain in ${city}`,
});
const loop = streamText({
  model: vercel.chat(model),
  prompt: cities,
  tools: { get_weather: weather },
  stopWhen: stepCountIs(3),
});
seen.vercelLoop = '';
for await (const piece of loop.textStream) seen.vercelLoop += piece;
seen.vercelTokens = (await loop.totalUsage).outputTokens > 0;
seen.vercelObject = (
  await generateText({
    model: vercel.chat(model),
    prompt: '{"name": "Ada", "age": 36}',
    output: Output.object({ schema: person }),
  })
).output;
if (process.env.WAY !== 'across') {
  seen.vercelResponses = (await generateText({ model: vercel.responses(model), prompt: 'one 🌍' })).text;
}
seen.vercelMissing = await failing(() => generateText({ model: vercel.chat('gpt-of-nobody'), prompt: 'one', maxRetries: 0 }));
console.log(JSON.stringify(seen));
