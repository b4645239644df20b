// What programs do with OpenAI's npm SDK beyond chat, and with Vercel's for it. Prints what they saw as JSON.
import { createReadStream, writeFileSync } from 'node:fs';
import { createOpenAI } from '@ai-sdk/openai';
import { embedMany, experimental_generateSpeech as generateSpeech, experimental_transcribe as transcribe, generateImage, streamText } from 'ai';
import OpenAI, { toFile } from 'openai';
import { failing, key, model, picture, url } from './asked.mjs';

const baseURL = `${url}/v1`;
const client = new OpenAI({ apiKey: key, baseURL, maxRetries: 0 });
const seen = {};
const png = Buffer.from(picture.split(',')[1], 'base64');
const size = '1024x1024';

const packed = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['one', 'two'], dimensions: 8 });
const numbers = await client.embeddings.create({
  model: 'text-embedding-3-small',
  input: ['one', 'two'],
  dimensions: 8,
  encoding_format: 'float',
});
seen.embedded = packed.data.map((row) => row.embedding.length);
seen.alike = packed.data.every((row, at) => row.embedding.every((value, i) => Math.abs(value - numbers.data[at].embedding[i]) < 1e-6));

// A response in the background whose stream is lost and gone on with.
const begun = await client.responses.create({ model, input: 'one two three four', background: true, stream: true });
let response;
let last;
let text = '';
for await (const event of begun) {
  response ??= event.response.id;
  last = event.sequence_number;
  if (event.type === 'response.output_text.delta') text += event.delta;
  if (last === 5) break;
}
for await (const event of await client.responses.retrieve(response, { stream: true, starting_after: last })) {
  if (event.type === 'response.output_text.delta') text += event.delta;
  if (event.type === 'response.completed') seen.resumed = [text, event.response.output_text ?? event.response.output[0].content[0].text];
}
seen.response = [];
for await (const item of client.responses.inputItems.list(response, { limit: 1 })) seen.response.push(item.content[0].text);
seen.helped = (await client.responses.stream({ model, input: 'one' }).finalResponse()).output_text;
await client.responses.delete(response);
seen.deleted = await failing(() => client.responses.retrieve(response));

seen.drawn = [];
const partial = await client.images.generate({
  model: 'gpt-image-2',
  prompt: 'a cat',
  size,
  background: 'opaque',
  output_format: 'jpeg',
  stream: true,
  partial_images: 1,
});
for await (const event of partial) seen.drawn.push(event.type);
const cat = await toFile(png, 'cat.png', { type: 'image/png' });
const edited = await client.images.edit({ model: 'gpt-image-2', image: [cat, cat], prompt: 'a hat', size });
seen.edited = [edited.data.length, edited.usage.input_tokens_details.image_tokens];

const speech = await client.audio.speech.create({ model: 'gpt-4o-mini-tts', voice: 'alloy', input: 'one two', response_format: 'wav' });
const sound = Buffer.from(await speech.arrayBuffer());
seen.spoken = [sound.subarray(0, 4).toString(), speech.headers.get('content-type')];
writeFileSync('speech.wav', sound);
const transcriptions = client.audio.transcriptions;
seen.heard = (await transcriptions.create({ model: 'gpt-4o-transcribe', file: createReadStream('speech.wav') })).text.length > 0;
seen.captioned = (await transcriptions.create({ model: 'whisper-1', file: createReadStream('speech.wav'), response_format: 'srt' })).includes('-->');
seen.pieces = [];
for await (const event of await transcriptions.create({ model: 'gpt-4o-transcribe', file: createReadStream('speech.wav'), stream: true }))
  seen.pieces.push(event.type);

const line = { custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body: { model, messages: [{ role: 'user', content: 'one' }] } };
writeFileSync('batch.jsonl', JSON.stringify(line));
const upload = { file: createReadStream('batch.jsonl'), purpose: 'batch' };
const file = await client.files.create(upload, { query: { model } });
let batch = await client.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' });
while (!batch.output_file_id) batch = await client.batches.retrieve(batch.id);
const row = JSON.parse(await (await client.files.content(batch.output_file_id)).text());
seen.batch = [row.custom_id, row.response.body.choices[0].message.content, batch.request_counts.completed];
seen.listed = [];
for await (const each of client.files.list({ limit: 1 })) seen.listed.push(each.purpose);
await client.files.delete(file.id);

// As browsers do it; the SDK's own class knows addresses with TLS alone.
const socket = new WebSocket(`${baseURL.replace('http', 'ws')}/realtime?model=gpt-realtime-2`, ['realtime', `openai-insecure-api-key.${key}`]);
const send = (event) => socket.send(JSON.stringify(event));
const item = { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'one' }] };
seen.conversation = await new Promise((resolve, reject) => {
  let said = '';
  socket.onerror = reject;
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === 'session.created') send({ type: 'session.update', session: { type: 'realtime', output_modalities: ['text'] } });
    else if (event.type === 'session.updated') {
      send({ type: 'conversation.item.create', item });
      send({ type: 'response.create' });
    } else if (event.type === 'response.output_text.delta') said += event.delta;
    else if (event.type === 'response.done') {
      socket.close();
      resolve(said);
    }
  };
});

const vercel = createOpenAI({ apiKey: key, baseURL });
const vectors = await embedMany({ model: vercel.embedding('text-embedding-3-small'), values: ['one', 'two'] });
seen.vercelEmbedded = [vectors.embeddings.length, vectors.usage.tokens > 0];
seen.vercelDrawn = (await generateImage({ model: vercel.image('gpt-image-2'), prompt: 'a cat', size })).image.uint8Array.length > 0;
seen.vercelSpoken = (await generateSpeech({ model: vercel.speech('gpt-4o-mini-tts'), text: 'one', outputFormat: 'wav' })).audio.uint8Array.length > 0;
seen.vercelHeard = (await transcribe({ model: vercel.transcription('whisper-1'), audio: sound })).text.length > 0;
const streamed = streamText({ model: vercel.responses(model), prompt: 'one two' });
seen.vercelStreamed = '';
for await (const piece of streamed.textStream) seen.vercelStreamed += piece;
console.log(JSON.stringify(seen));
