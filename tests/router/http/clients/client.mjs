// node's fetch and its http.request as they are by default; prints one status a line.
import http from 'node:http';

const [, , url] = process.argv;
const body = '{"text": "help"}';

for (let i = 0; i < 3; i++) {
  const response = await fetch(url, { method: 'POST', body });
  await response.text();
  console.log(response.status);
  console.log(await new Promise((resolve, reject) => {
    const request = http.request(url, { method: 'POST' }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode));
    });
    request.on('error', reject);
    request.write(body.slice(0, 5));
    request.end(body.slice(5));
  }));
}
