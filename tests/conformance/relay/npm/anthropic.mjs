// What programs do with Anthropic's npm SDK and with Vercel's for it. Prints what they saw as JSON.
import Anthropic from '@anthropic-ai/sdk';
import { createAnthropic } from '@ai-sdk/anthropic';
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { cities, failing, key, model, picture, schema, url } from './asked.mjs';

const client = new Anthropic({ apiKey: key, baseURL: url, maxRetries: 4 });
const seen = {};
const say = (content) => [{ role: 'user', content }];
const ask = { model, max_tokens: 200 };
const tools = [{ name: 'get_weather', input_schema: schema }];

// The vendor answers the first try with 429.
seen.retried = (await client.messages.create({ ...ask, model: process.env.RETRY_MODEL, messages: say('one') })).content[0].text;

const stream = client.messages.stream({ ...ask, messages: say('one 🌍') });
seen.streamed = '';
stream.on('text', (text) => {
  seen.streamed += text;
});
seen.tokens = (await stream.finalMessage()).usage.output_tokens;

const called = await client.messages.stream({ ...ask, messages: say(cities), tools }).finalMessage();
const results = called.content.map(({ id }, number) => ({ type: 'tool_result', tool_use_id: id, content: `rain ${number}` }));
const after = await client.messages.create({
  ...ask,
  messages: [...say(cities), { role: 'assistant', content: called.content }, { role: 'user', content: results }],
  tools,
});
seen.tools = called.content.map((block) => block.input.city);
seen.results = after.content[0].text;
const format = {
  type: 'json_schema',
  schema: {
    type: 'object',
    properties: { name: { type: 'string' }, age: { type: 'integer' } },
    required: ['name', 'age'],
    additionalProperties: false,
  },
};
const structured = await client.messages.create({ ...ask, messages: say('{"name": "Ada", "age": 36}'), output_config: { format } });
seen.parsed = JSON.parse(structured.content[0].text);
const source = { type: 'base64', media_type: 'image/png', data: picture.split(',')[1] };
seen.pictured = (
  await client.messages.create({ ...ask, messages: say([{ type: 'image', source }, { type: 'text', text: 'look' }]) })
).content[0].text;
const { response } = await client.messages.create({ ...ask, messages: say('one') }).withResponse();
seen.requestId = Boolean(response.headers.get('request-id'));
seen.counted = (await client.messages.countTokens({ model, messages: say('one two') })).input_tokens > 0;
seen.missing = await failing(() => client.messages.create({ ...ask, model: 'claude-of-nobody', messages: say('one') }));
seen.stranger = await failing(() =>
  new Anthropic({ apiKey: 'sk-wrong', baseURL: url, maxRetries: 0 }).messages.create({ ...ask, messages: say('one') }),
);

const vercel = createAnthropic({ apiKey: key, baseURL: `${url}/v1` });
const weather = tool({
  description: 'Now.',
  inputSchema: jsonSchema(schema),
  execute: async ({ city }) => `rain in ${city}`,
});
const loop = streamText({
  model: vercel(model),
  prompt: cities,
  tools: { get_weather: weather },
  stopWhen: stepCountIs(3),
  maxOutputTokens: 200,
});
seen.vercelLoop = '';
for await (const piece of loop.textStream) seen.vercelLoop += piece;
seen.vercelTokens = (await loop.totalUsage).outputTokens > 0;
seen.vercelObject = (
  await generateText({
    model: vercel(model),
    prompt: '{"name": "Ada", "age": 36}',
    output: Output.object({ schema: z.object({ name: z.string(), age: z.number() }) }),
    maxOutputTokens: 200,
  })
).output;
seen.vercelMissing = await failing(() => generateText({ model: vercel('claude-of-nobody'), prompt: 'one', maxRetries: 0 }));
console.log(JSON.stringify(seen));
